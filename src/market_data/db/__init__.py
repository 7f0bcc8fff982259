"""The database: a server (embedded or given), its connections, its migrations."""
