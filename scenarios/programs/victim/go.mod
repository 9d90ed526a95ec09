module stranded.test/victim

go 1.17
