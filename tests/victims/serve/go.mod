module stranded.test/serve

go 1.17
