"""What is done to a live server to prove a promise; pytest looks at the outcomes, `make faults` at the figures too."""
