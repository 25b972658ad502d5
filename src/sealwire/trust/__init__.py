"""Why it is believed: TUF and Uptane. Bytes in, accepted or refused; no I/O."""
