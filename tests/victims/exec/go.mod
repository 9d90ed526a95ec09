module stranded.test/exec

go 1.17
