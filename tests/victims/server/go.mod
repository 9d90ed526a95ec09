module stranded.test/server

go 1.17
