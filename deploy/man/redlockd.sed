# Edits the manual page that help2man makes from `redlockd --help`: it takes the exit status for an option's text.
s/\n\.PP\nExit status: 0/\n.SH "EXIT STATUS"\n0/
