"""Any child process: its wire, its memory."""
