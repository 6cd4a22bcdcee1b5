/* The ROM: from the CPU's reset to 64-bit mode with four gigabytes mapped as they are, then to KERNEL. */

.set KERNEL, 0x100000
.set TABLES, 0x1000

.section .text
.code16
.globl _start
_start:
    cli
    /* All address lines. */
    movb $2, %al
    outb %al, $0x92
    lgdtl %cs:(descriptors - rom)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(protected - rom + 0xffff0000)

.code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    /* One table of tables, one of four, and 2,048 pages of 2 MB. */
    movl $TABLES, %edi
    xorl %eax, %eax
    movl $(6 * 1024), %ecx
    rep stosl
    movl $(TABLES + 0x1003), TABLES
    movl $(TABLES + 0x2003), TABLES + 0x1000
    movl $(TABLES + 0x3003), TABLES + 0x1008
    movl $(TABLES + 0x4003), TABLES + 0x1010
    movl $(TABLES + 0x5003), TABLES + 0x1018
    movl $(TABLES + 0x2000), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $TABLES, %eax
    movl %eax, %cr3
    /* PAE; OSFXSR, OSXMMEXCPT and OSXSAVE. */
    movl $0x40620, %eax
    movl %eax, %cr4
    /* Long mode, and the instruction that calls the system. */
    movl $0xc0000080, %ecx
    movl $0x101, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80000033, %eax
    movl %eax, %cr0
    /* x87, SSE, AVX, AVX-512, and the tiles. */
    xorl %ecx, %ecx
    movl $0x600e7, %eax
    xorl %edx, %edx
    xsetbv
    ljmpl $24, $(long_mode - rom + 0xffff0000)

.code64
long_mode:
    movl $0xf00000, %esp
    movl $KERNEL, %eax
    jmp *%rax

.align 8
table:
    .quad 0
    .quad 0x00cf9a000000ffff /* 8: code of 32 bits */
    .quad 0x00cf92000000ffff /* 16: data */
    .quad 0x00af9a000000ffff /* 24: code of 64 bits */
    .quad 0x00cf92000000ffff /* 32: data, as `syscall` takes it */
descriptors:
    .word descriptors - table - 1
    .long table - rom + 0xffff0000

.code16
.org 0xfff0
reset:
    jmp _start
.org 0x10000

.set rom, _start
