module stranded.test/halfopenpool

go 1.17
