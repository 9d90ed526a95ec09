module gate

go 1.17
