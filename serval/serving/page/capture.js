/* Pictures of a camera, a screen or a file, handed to the service: at most one on its way, all sources together eight a second.
   What cannot be used now is counted with its reason and forgotten. */

import { call } from "./api.js";

const GAP = 125; // milliseconds between two pictures, whichever source they are of
const SIDE = 960; // pixels of the longer side
const WAIT = 10_000;
const KEPT = 40; // pictures that are kept for when something is said of them: five seconds
const NEAR = 0.05; // seconds

const WHY = {
  busy: "came while it was looking",
  opening: "came while it was opening",
  unreachable: "could not be sent",
  "too many": "were too many for the service",
};

let next = 0;

function turn() {
  const now = performance.now();
  next = Math.max(now, next + GAP);
  return new Promise((resolve) => setTimeout(resolve, next - now));
}

/* Open what the person chose. Resolves to a <video> that plays, or will when told to, of a file; rejects with what the browser says. */
export async function openMedia(kind, file) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true });
  if (kind === "file") {
    video.src = URL.createObjectURL(file);
    video.controls = true;
  } else if (kind === "screen") {
    video.srcObject = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 15 } });
  } else {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "environment" } });
  }
  if (kind !== "file") await video.play();
  else
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = reject;
    });
  return video;
}

export function closeMedia(video) {
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
}

export class Capture extends EventTarget {
  sent = 0;
  unused = new Map(); // why -> how many
  #canvas = document.createElement("canvas");
  #going = true;
  #lately = []; // [seconds on the stream's clock, JPEG]

  constructor(stream, video) {
    super();
    Object.assign(this, { stream, video });
    for (const track of video.srcObject?.getTracks() ?? []) track.addEventListener("ended", () => this.close());
    video.addEventListener("ended", () => this.close());
    this.#run();
  }

  get going() {
    return this.#going;
  }

  /* Why pictures were not used, in words; nothing where all were. */
  get words() {
    return [...this.unused].map(([why, count]) => `${count} ${WHY[why] ?? why}`).join(", ");
  }

  /* The picture that was handed in at a time on the stream's clock, if it is still at hand. */
  pictureAt(time) {
    return this.#lately.find(([when]) => Math.abs(when - time) < NEAR)?.[1] ?? null;
  }

  close() {
    if (!this.#going) return;
    this.#going = false;
    closeMedia(this.video);
    this.dispatchEvent(new Event("closed"));
  }

  async #run() {
    while (this.#going) {
      await turn();
      if (this.#going && this.video.readyState >= 2 && !this.video.paused) await this.#send();
    }
  }

  async #send() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, SIDE / Math.max(width, height));
    Object.assign(this.#canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.#canvas.getContext("2d").drawImage(this.video, 0, 0, this.#canvas.width, this.#canvas.height);
    const picture = await new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", 0.82));
    if (picture === null) return;
    try {
      const signal = AbortSignal.timeout(WAIT);
      const answer = await call(`/v1/streams/${this.stream}/frames`, { method: "POST", body: picture, type: "image/jpeg", signal });
      const { dropped, time } = await answer.json();
      if (dropped === "closed") this.close();
      else if (dropped) this.#missed(dropped);
      else {
        this.sent += 1;
        this.#lately = [...this.#lately.slice(1 - KEPT), [time, picture]];
      }
    } catch (error) {
      if (error.status === 404 || error.status === 409 || error.status === 403) return this.close();
      this.#missed(error.status === 429 ? "too many" : "unreachable");
      await new Promise((resolve) => setTimeout(resolve, Math.max(1, error.wait || 0) * 1000));
    }
    this.dispatchEvent(new Event("sent"));
  }

  #missed(why) {
    this.unused.set(why, (this.unused.get(why) ?? 0) + 1);
  }
}
