"""The methods that the papers' authors compared with, one module each."""
