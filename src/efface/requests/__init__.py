"""What people ask for: one folder per kind of request."""
