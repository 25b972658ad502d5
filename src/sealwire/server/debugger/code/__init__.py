"""What programs are made of: symbols to complete from."""
