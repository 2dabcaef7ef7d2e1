/* Runs beside the page: hands over what the microphone hears, in blocks of a hundredth of a second or so. */

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(1024);
  #filled = 0;

  process([input]) {
    const heard = input[0];
    if (!heard) return true;
    for (const value of heard) {
      this.#block[this.#filled++] = value;
      if (this.#filled === this.#block.length) {
        this.port.postMessage(this.#block.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
