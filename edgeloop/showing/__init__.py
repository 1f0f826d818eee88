"""What a run exchanged, read back and made visible: for reports and for the server's pages."""
