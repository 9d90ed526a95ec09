module stranded.test/grow

go 1.17
