"""What is more than a formula, a folder each: interface, algorithms, and where their blocks lie."""
