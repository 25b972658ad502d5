"""App and API Protection, and who is refused: everyday words made into configs, and what is in force."""
