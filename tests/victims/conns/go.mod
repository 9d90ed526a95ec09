module stranded.test/conns

go 1.17
