"""One command, one function: from a request to a run folder, and what is done with one."""
