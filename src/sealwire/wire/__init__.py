"""What travels: bytes <-> messages. No policy, no cryptography, no I/O."""
