"""A port of DTLN as others write one: it knows what docs/porting.md says, and nothing of this toolkit.

    client.py RUNTIME KIND FOLDER NOISY DENOISED

Reads and writes float32 samples at 16 kHz without a header; prints the version of the runtime. Python 3.8 will do.
"""

import sys
from importlib import metadata

import numpy as np

BLOCK, SHIFT = 512, 128


def main(runtime, kind, folder, noisy, denoised):
    files = {
        "onnx": ["model_1.onnx", "model_2.onnx"],
        "onnx-stream": ["model_stream.onnx"],
        "onnx-stream-quant": ["model_stream_quant.onnx"],
        "tflite": ["model_1.tflite", "model_2.tflite"],
        "tflite-quant": ["model_quant_1.tflite", "model_quant_2.tflite"],
    }[kind]
    models = [LOADERS[runtime](folder + "/" + name) for name in files]
    run_block = pair(*models) if len(models) == 2 else graph(*models)
    stream(run_block, np.fromfile(noisy, np.float32)).tofile(denoised)
    print(metadata.version(runtime))


def pair(model_1, model_2):
    """The two halves, with the transforms in between."""
    states_1 = np.zeros((1, 2, 128, 2), np.float32)
    states_2 = np.zeros((1, 2, 128, 2), np.float32)

    def run_block(block):
        nonlocal states_1, states_2
        spectrum = np.fft.rfft(block)
        magnitude = np.abs(spectrum).astype(np.float32).reshape(1, 1, 257)
        inputs = {"input_2": magnitude, "input_3": states_1}
        mask, states_1 = model_1(inputs, ["activation_2", "tf_op_layer_stack_2"])
        masked = np.fft.irfft(spectrum * mask.reshape(257)).astype(np.float32).reshape(1, 1, 512)
        inputs = {"input_4": masked, "input_5": states_2}
        clean, states_2 = model_2(inputs, ["conv1d_3", "tf_op_layer_stack_5"])
        return clean.reshape(512)

    return run_block


def graph(model):
    """The whole network on one block."""
    states = np.zeros((8, 1, 128), np.float32)

    def run_block(block):
        nonlocal states
        clean, states = model({"block": block.reshape(1, 1, 512), "states": states}, ["denoised", "states_out"])
        return clean.reshape(512)

    return run_block


def stream(run_block, samples):
    """Blocks, overlap-add, and the delay taken out: as many samples as came in."""
    delay = BLOCK - SHIFT
    shifts = -(-(len(samples) + delay) // SHIFT)
    padded = np.concatenate([samples, np.zeros(shifts * SHIFT - len(samples), np.float32)])
    window, overlap, output = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32), []
    for shift in padded.reshape(shifts, SHIFT):
        window = np.concatenate([window[SHIFT:], shift])
        overlap = np.concatenate([overlap[SHIFT:], np.zeros(SHIFT, np.float32)]) + run_block(window)
        output.append(overlap[:SHIFT])
    return np.concatenate(output)[delay:][: len(samples)]


# Each loader: path -> function (inputs by name, names of outputs) -> outputs.


def onnxruntime(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda inputs, names: session.run(names, inputs)


def openvino(path):
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs, names):
        if path.endswith(".tflite"):  # names of their own: by position
            inputs, names = list(inputs.values()), [0, 1]
        outputs = model(inputs)
        return [outputs[name].copy() for name in names]  # the arrays belong to the model

    return run


def tract(path):
    """Inputs by name, outputs by position: this binding calls outputs after the operators that they come from."""
    import tract

    model = tract.onnx().load(path).into_model()
    order = [model.input_name(i) for i in range(model.input_count())]
    runnable = model.into_runnable()
    return lambda inputs, names: [value.to_numpy() for value in runnable.run([inputs[name] for name in order])]


LOADERS = {"onnxruntime": onnxruntime, "openvino": openvino, "tract": tract}

if __name__ == "__main__":
    main(*sys.argv[1:])
