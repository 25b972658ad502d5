"""What people do to configs, before anything is signed: checked, said in words, committed."""
