"""The tests of Sealwire."""
