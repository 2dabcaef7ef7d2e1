/* The microphone while it is open: blocks of samples, and sound as a WAV file. */

/* Resolves to {rate, close}; `hear` is called with each block (Float32Array, -1 to 1, one channel). */
export async function openMicrophone(hear) {
  const media = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, channelCount: 1 } });
  const context = new AudioContext();
  const close = () => {
    for (const track of media.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule("/page/recorder.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => hear(data);
    context.createMediaStreamSource(media).connect(recorder);
    await context.resume();
  } catch (error) {
    close();
    throw error;
  }
  return { rate: context.sampleRate, close };
}

/* How loud a block is: root of the mean square. */
export const loudness = (block) => Math.sqrt(block.reduce((sum, value) => sum + value * value, 0) / block.length);

/* Blocks as a WAV file of 16-bit samples. */
export function wave(blocks, rate) {
  const length = blocks.reduce((sum, each) => sum + each.length, 0);
  const file = new DataView(new ArrayBuffer(44 + 2 * length));
  const write = (at, text) => [...text].forEach((each, place) => file.setUint8(at + place, each.charCodeAt(0)));
  write(0, "RIFF");
  file.setUint32(4, 36 + 2 * length, true);
  write(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true);
  file.setUint16(22, 1, true);
  file.setUint32(24, rate, true);
  file.setUint32(28, 2 * rate, true);
  file.setUint16(32, 2, true);
  file.setUint16(34, 16, true);
  write(36, "data");
  file.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks)
    for (const value of block) {
      file.setInt16(at, Math.max(-1, Math.min(1, value)) * 32767, true);
      at += 2;
    }
  return new Blob([file], { type: "audio/wav" });
}
