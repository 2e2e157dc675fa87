#!/bin/bash
# limit: 240
# make -j4 of 300 generated C files, and the result runs.
set -e
mkdir -p /work/build && cd /work/build
for i in $(seq 1 300); do
    printf '#include <stdio.h>\n#include <string.h>\nint f%d(int x) { char b[64]; snprintf(b, sizeof b, "%%d", x + %d); return (int)strlen(b) + %d; }\n' $i $i $i > f$i.c
done
{
    for i in $(seq 1 300); do echo "int f$i(int);"; done
    echo '#include <stdio.h>'
    echo 'int main(void) { long s = 0;'
    for i in $(seq 1 300); do echo "s += f$i($i);"; done
    echo 'printf("sum %ld\n", s); return 0; }'
} > main.c
printf 'OBJS = main.o $(patsubst %%,f%%.o,$(shell seq 1 300))\nall: prog\nprog: $(OBJS)\n\t@$(CC) -o $@ $(OBJS)\n%%.o: %%.c\n\t@$(CC) -O1 -c -o $@ $<\n' > Makefile
make -j4
./prog
make -j4 -q && echo "up to date"
touch f7.c && make -j4 && ./prog
ls *.o | wc -l
