"""What programs had in their variables: read, kept sealed, shown to those who may see it."""
