# Edits the manual page that help2man makes from `redlockctl --help-all`: it takes the commands for paragraphs.
s/\n\.PP\nSubcommands:\n([^\n]+)\n\.IP\n/\n.SH COMMANDS\n.SS "\1"\n/
s/\n\.PP\n([a-z\\, -]+)\n\.IP\n/\n.SS "\1"\n/g
s/\n(\.IP\n)?(Positionals|Options|Subcommands):\n/\n/g
s/\n\.PP\nExit status: 0/\n.SH "EXIT STATUS"\n0/
