"""`edgeloop server`: what runs where, in one API and one page; and what is done about it."""
