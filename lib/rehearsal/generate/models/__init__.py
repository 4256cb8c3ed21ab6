"""The generators of token columns, behind one interface."""
