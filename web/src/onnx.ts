/** The notes in an ONNX file, which ONNX Runtime for the web does not show. */

const METADATA_PROPS = 14; // of ModelProto, in onnx.proto
const [KEY, VALUE] = [1, 2]; // of StringStringEntryProto
const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5]; // wire types of protocol buffers

/** The `metadata_props` of an ONNX model. Raises an Error where the bytes are no protocol buffer. */
export function metadataOf(model: Uint8Array): Map<string, string> {
  const notes = new Map<string, string>();
  for (const [number, bytes] of fieldsOf(model)) {
    if (number !== METADATA_PROPS) continue;
    const entry = new Map(fieldsOf(bytes));
    const text = (field: number) => new TextDecoder().decode(entry.get(field));
    notes.set(text(KEY), text(VALUE));
  }
  return notes;
}

/** The fields of a message that hold bytes: number and bytes, which are views. */
function* fieldsOf(message: Uint8Array): Generator<[number, Uint8Array]> {
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[position++];
      if (byte === undefined || scale > 2 ** 63) throw new Error("is no protocol buffer");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (position < message.length) {
    const tag = varint();
    const type = tag % 8;
    if (type === BYTES) {
      const length = varint();
      yield [Math.floor(tag / 8), message.subarray(position, position + length)];
      position += length;
    } else if (type === VARINT) varint();
    else if (type === FIXED64 || type === FIXED32) position += type === FIXED64 ? 8 : 4;
    else throw new Error("is no protocol buffer");
    if (position > message.length) throw new Error("is cut short");
  }
}
