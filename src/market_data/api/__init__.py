"""The REST API: parse, call a service, answer. No SQL, no meaning."""
