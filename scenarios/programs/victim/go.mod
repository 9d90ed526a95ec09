module victim

go 1.17
