/* The page, put together. */

import { get } from "./api.js";
import { setUpAsk } from "./ask.js";
import { Capture, closeMedia, openMedia } from "./capture.js";
import { line, listen, locked } from "./events.js";
import { beginnings, load as loadInstructions, setUpInstructions } from "./instructions.js";
import { Locked, takeFromAddress } from "./key.js";
import { by, make, notice } from "./make.js";
import { record } from "./record.js";
import { say, setUpSpeak } from "./speak.js";
import { streams } from "./streams.js";
import { setUpTalk, switchMicrophone } from "./talk.js";
import { setUpTheme } from "./theme.js";
import { captures, setUpTiles, showSaid } from "./tiles.js";
import { setUpTimeline } from "./timeline.js";
import { setUpTrace } from "./trace.js";

const REFUSED = { NotAllowedError: "The browser was not allowed to.", NotFoundError: "There is no camera.", NotReadableError: "Another program has it." };

let resumed = null; // the stream that a chosen file is for

/* Show a new stream, or one that goes on, the pictures of a camera, a screen or a file. */
async function watch(kind, file, stream = null) {
  let video;
  try {
    video = await openMedia(kind, file);
  } catch (error) {
    return notice(REFUSED[error.name] ?? "That cannot be played here.");
  }
  try {
    const name = kind === "file" ? file.name.replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "-").slice(0, 40) || "file" : kind;
    const { id } = stream ?? (await streams.open(name, "handed", beginnings()));
    const capture = new Capture(id, video);
    capture.addEventListener("closed", () => {
      streams.dispatchEvent(new Event("change"));
      if (kind === "file" && video.ended) streams.stop(id).catch(() => {});
    });
    captures.get(id)?.close();
    captures.set(id, capture);
    streams.dispatchEvent(new Event("change"));
    await streams.ready(id); // or a file's first seconds would be lost
    await video.play();
  } catch (error) {
    closeMedia(video);
    notice(error.message);
  }
  return undefined;
}

function add(kind, stream = null) {
  if (kind === "microphone") switchMicrophone();
  else if (kind === "file") {
    resumed = stream;
    by("file").click();
  } else watch(kind, null, stream);
}

function setUpSources() {
  document.addEventListener("click", ({ target }) => target.dataset?.add && add(target.dataset.add));
  by("file").addEventListener("change", () => {
    const [file] = by("file").files;
    by("file").value = "";
    if (file) watch("file", file, resumed);
  });
  if (!navigator.mediaDevices) {
    for (const each of document.querySelectorAll("[data-add]:not([data-add=file])")) each.disabled = true;
    notice("The browser gives cameras and microphones to pages over https or of this machine only.");
  } else if (!navigator.mediaDevices.getDisplayMedia) document.querySelector("[data-add=screen]").hidden = true;
}

/* Sources that the service's owner gave names. */
function offer(named) {
  by("named").hidden = named.length === 0;
  by("named").append(make("option", { value: "" }, "Another …"), ...named.map((each) => make("option", { value: each }, each)));
  by("named").addEventListener("change", async () => {
    const source = by("named").value;
    by("named").value = "";
    try {
      if (source) await streams.open(source.slice(0, 40), source, beginnings());
    } catch (error) {
      notice(error.message);
    }
  });
}

function hear({ detail: told }) {
  if (told.type === "serval.missed") return streams.chosen && record.load(streams.chosen);
  if (told.type === "serval.stream") return streams.refresh().catch(() => {});
  if (!told.event) return undefined;
  record.add(told.stream, told.event);
  if (told.type === "serval.utterance") {
    showSaid(told.stream, told.event);
    by("said").textContent = told.event.text;
    say(told.event.text);
  }
  if (told.type === "serval.instruction" && told.stream === streams.chosen) loadInstructions();
  return undefined;
}

async function begin() {
  takeFromAddress();
  setUpTheme();
  setUpSources();
  setUpTiles((view) => add(["camera", "screen"].includes(view.name) ? view.name : "file", view));
  setUpInstructions();
  setUpTrace();
  setUpTimeline();
  setUpAsk();
  setUpTalk();
  setUpSpeak();
  for (let waited = 1; ; waited = Math.min(15, waited * 2)) {
    try {
      const { sources } = await get("/v1/streams/sources"); // first and alone: a wrong key is tried once
      await streams.refresh();
      offer(sources.filter((each) => each !== "handed"));
      break;
    } catch (error) {
      by("loading").textContent = error instanceof Locked ? "Locked. Give a key to see your streams." : `${error.message} Trying again …`;
      if (error instanceof Locked) return locked();
      await new Promise((resolve) => setTimeout(resolve, waited * 1000));
    }
  }
  if (streams.chosen) {
    record.load(streams.chosen).catch((error) => notice(error.message));
    loadInstructions();
  }
  line.addEventListener("told", hear);
  line.addEventListener("open", () => {
    for (const each of new Set([streams.chosen, ...streams.alive.map(({ id }) => id)])) if (each) record.load(each).catch(() => {});
  });
  streams.follow();
  return listen();
}

begin();
