"""What is claimed and what measures it: the driver, tables and claims, and a package per paper."""
