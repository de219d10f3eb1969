out_dir = "out-shakespeare-char"
eval_interval = 250
always_save_checkpoint = False
dataset = "shakespeare_char"
learning_rate = 1e-3
