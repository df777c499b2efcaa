"""Any child process: its wire, its guard, its memory."""
