"""One stage at work: what it takes, decides, works on, and sends."""
