/*
 * What a single-threaded Linux program needs of its system, and no more: it starts the program that lies
 * at PROGRAM, and answers its calls. Memory is given out and taken back, writes go to Bochs' debug port,
 * threads are refused.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum { PROGRAM = 0x400000, MAPPED = 0x8000000, PAGE = 4096, FREED = 4096 };
#define TOP 0x3f000000ul

/* What the builder of the image writes behind this code: the program's entry, headers and arguments. */
struct Program {
    u64 entry, headers, header_size, header_count, argc;
    char *strings;
    u64 envc;
} __attribute__((packed));
extern struct Program program;

/* Where the ROM jumps to. */
__asm__(".section .text.first, \"ax\"\n jmp start\n .text\n");

static void out(u16 port, u8 byte) { __asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"(port)); }

static void print(const char *text) {
    while (*text) out(0xe9, *text++);
}

static void print_hex(u64 value) {
    for (int shift = 60; shift >= 0; shift -= 4) out(0xe9, "0123456789abcdef"[value >> shift & 15]);
}

/* Bochs ends at this word. */
__attribute__((noreturn)) static void stop(u64 status) {
    print("\n[exit ");
    print_hex(status);
    print("]\n");
    for (const char *word = "Shutdown"; *word; word++) out(0x8900, *word);
    for (;;) __asm__ volatile("cli; hlt");
}

static void write_msr(u32 msr, u64 value) {
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

/* Memory that was given back, to be given out again. */
static struct { u64 at, size; } freed[FREED];
static u64 next = MAPPED;

static u64 give(u64 size) {
    size = (size + PAGE - 1) & ~(u64)(PAGE - 1);
    u64 at = 0;
    for (int i = 0; i < FREED; i++) {
        if (freed[i].size >= size) {
            at = freed[i].at;
            freed[i].at += size;
            freed[i].size -= size;
            break;
        }
    }
    if (!at) {
        if (next + size > TOP) return -12; /* ENOMEM */
        at = next;
        next += size;
    }
    u8 *to = (u8 *)at;
    u64 count = size;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    return at;
}

static void take(u64 at, u64 size) {
    size = (size + PAGE - 1) & ~(u64)(PAGE - 1);
    for (int i = 0; i < FREED; i++) {
        if (freed[i].size && freed[i].at + freed[i].size == at) {
            freed[i].size += size;
            return;
        }
    }
    for (int i = 0; i < FREED; i++) {
        if (!freed[i].size) {
            freed[i].at = at;
            freed[i].size = size;
            return;
        }
    }
}

struct Registers { u64 rax, rdi, rsi, rdx, r10, r8, r9; };

u64 answer(struct Registers *r) {
    static u64 ticks, seed = 1;
    switch (r->rax) {
    case 1: /* write */
        for (u64 i = 0; i < r->rdx; i++) out(0xe9, ((char *)r->rsi)[i]);
        return r->rdx;
    case 20: { /* writev */
        u64 *parts = (u64 *)r->rsi, total = 0;
        for (u64 i = 0; i < r->rdx; i++) {
            for (u64 j = 0; j < parts[2 * i + 1]; j++) out(0xe9, ((char *)parts[2 * i])[j]);
            total += parts[2 * i + 1];
        }
        return total;
    }
    case 9: /* mmap of no file */
        if (!(r->r10 & 0x20)) return -19;
        if (r->r10 & 0x10) { /* where it already is */
            u8 *to = (u8 *)r->rdi;
            u64 count = r->rsi;
            __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
            return r->rdi;
        }
        return give(r->rsi);
    case 11: /* munmap */
        take(r->rdi, r->rsi);
        return 0;
    case 12: /* brk: what cannot grow is not asked again */
        return 0;
    case 10: case 13: case 14: case 28: case 131: case 202: case 203: case 24: case 35:
        return 0; /* mprotect, signals, madvise, futex, sched_yield, nanosleep */
    case 7: /* poll */
        return 0;
    case 158: /* arch_prctl */
        if (r->rdi == 0x1002) {
            write_msr(0xc0000100, r->rsi);
            return 0;
        }
        /* The permission to use the tiles is asked for, and given. */
        if (r->rdi == 0x1023 && r->rsi == 18) {
            print("[tiles permitted]\n");
            return 0;
        }
        return -22;
    case 218: case 39: case 186: /* set_tid_address, getpid, gettid */
        return 1;
    case 228: /* clock_gettime */
        ((u64 *)r->rsi)[0] = ++ticks / 1000;
        ((u64 *)r->rsi)[1] = ticks % 1000 * 1000000;
        return 0;
    case 318: /* getrandom */
        for (u64 i = 0; i < r->rsi; i++) {
            seed = seed * 6364136223846793005ul + 1442695040888963407ul;
            ((u8 *)r->rdi)[i] = seed >> 56;
        }
        return r->rsi;
    case 56: case 435: /* clone */
        return -11; /* EAGAIN: tests run where they are */
    case 60: case 231:
        stop(r->rdi);
    case 200: case 234: case 62: /* tkill, tgkill, kill: abort */
        stop(0x100 + 6);
    default:
        return -38; /* ENOSYS */
    }
}

void faulted(u64 *frame) {
    print("\n[exception ");
    print_hex(frame[0]);
    print(" code ");
    print_hex(frame[1]);
    print(" at ");
    print_hex(frame[2]);
    stop(0x200 + frame[0]);
}

/* The call, on its own stack, as it may be near the end of the program's. */
__asm__(".globl call\n"
        "call:\n"
        "mov %rsp, saved(%rip)\n"
        "lea stack_end(%rip), %rsp\n"
        "push %rcx\n push %r11\n"
        "push %r9\n push %r8\n push %r10\n push %rdx\n push %rsi\n push %rdi\n push %rax\n"
        "mov %rsp, %rdi\n"
        "call answer\n"
        "add $8, %rsp\n"
        "pop %rdi\n pop %rsi\n pop %rdx\n pop %r10\n pop %r8\n pop %r9\n"
        "pop %r11\n pop %rcx\n"
        "mov saved(%rip), %rsp\n"
        "push %r11\n popfq\n"
        "jmp *%rcx\n"
        ".bss\n .balign 16\n saved: .quad 0\n .skip 65528\n stack_end:\n .text\n");

/* Exceptions by their number; those without a code get one. */
__asm__(".macro vector number, has\n"
        "vector\\number:\n"
        ".if \\has == 0\n push $0\n .endif\n"
        "push $\\number\n mov %rsp, %rdi\n call faulted\n"
        ".endm\n"
        "vector 0 0\n vector 3 0\n vector 6 0\n vector 7 0\n vector 8 1\n vector 13 1\n vector 14 1\n"
        "vector 16 0\n vector 17 1\n vector 19 0\n");
extern char vector0[], vector3[], vector6[], vector7[], vector8[], vector13[], vector14[], vector16[],
    vector17[], vector19[], call[];

static struct { u16 low, selector, flags, middle; u32 high, zero; } gates[32];

static void gate(int number, char *to) {
    u64 at = (u64)to;
    gates[number].low = at;
    gates[number].selector = 24;
    gates[number].flags = 0x8e00;
    gates[number].middle = at >> 16;
    gates[number].high = at >> 32;
}

void start(void) {
    gate(0, vector0), gate(3, vector3), gate(6, vector6), gate(7, vector7), gate(8, vector8);
    gate(13, vector13), gate(14, vector14), gate(16, vector16), gate(17, vector17), gate(19, vector19);
    struct { u16 limit; u64 base; } __attribute__((packed)) idt = {sizeof gates - 1, (u64)gates};
    __asm__ volatile("lidt %0" : : "m"(idt));
    write_msr(0xc0000081, (u64)24 << 32);
    write_msr(0xc0000082, (u64)call);
    write_msr(0xc0000084, 0);

    /* The stack that a program finds: arguments, environment, and what the system tells. */
    u64 top = give(8 << 20) + (8 << 20) - 4096;
    u64 *at = (u64 *)top;
    *at++ = program.argc;
    char *text = program.strings;
    for (u64 i = 0; i < program.argc + program.envc; i++) {
        if (i == program.argc) *at++ = 0;
        *at++ = (u64)text;
        while (*text++) {}
    }
    if (!program.envc) *at++ = 0;
    *at++ = 0;
    u64 told[] = {3, program.headers, 4, program.header_size, 5, program.header_count, 6, PAGE,
                  9, program.entry, 25, PROGRAM, 0, 0};
    for (u64 i = 0; i < sizeof told / 8; i++) *at++ = told[i];
    __asm__ volatile("mov %0, %%rsp\n xor %%edx, %%edx\n xor %%ebp, %%ebp\n jmp *%1"
                     : : "a"(top), "c"(program.entry) : "memory");
}
