module stranded.test/shared

go 1.17
