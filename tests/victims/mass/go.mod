module stranded.test/mass

go 1.17
