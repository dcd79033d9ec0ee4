"""A language model whose prefill and decode jetpace paces by a table each: docs/OWN-PROGRAM.md.

usage: chat.py REQUESTS [PREFILL.jpt DECODE.jpt]; REQUESTS 0: for ever, as it is measured. The model is a tiny Llama with random
weights; on a live board the stand-in for the GPU does its work.
"""

import os
import sys
import time

import torch
import transformers

import jetpace

PROMPTS, ANSWER = (64, 256), 16


def llama(gpu):
    config = transformers.LlamaConfig(
        vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=512
    )
    model = transformers.LlamaForCausalLM(config).eval()
    if gpu is not None:
        # What a token takes, and all weights once, while the rest of it runs on the CPU.
        work = lambda _module, args: gpu.run(500_000_000 * args[0].shape[1], 900_000_000)  # noqa: E731
        model.get_input_embeddings().register_forward_pre_hook(work)
    return model


def main(requests=0, prefill=None, decode=None):
    gpu = None
    if "JETPACE_GPU" in os.environ:
        import standin

        gpu = standin.Gpu()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = llama(gpu).to(device)
    run = 0
    with torch.inference_mode(), jetpace.phases(model, prefill, decode, events=gpu) as phases:
        while not requests or run < requests:
            tokens = phases.prompt(PROMPTS[run % len(PROMPTS)])
            prompt = torch.randint(0, 500, (1, tokens), device=device)
            model.generate(prompt, attention_mask=torch.ones_like(prompt), min_new_tokens=ANSWER, max_new_tokens=ANSWER)
            run += 1
            if requests:
                time.sleep(0.2)
        for phase, stats in phases.stats().items():
            print(phase, stats)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
