"""What runs on the machine: standard library only, Python 3.9 and up."""
