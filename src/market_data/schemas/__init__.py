"""What goes over the wire as JSON objects: requests and answers of everything but bars."""
