"""SSH: connections with strict host keys, and a command line that every login shell reads alike. Imports: core, paramiko."""
