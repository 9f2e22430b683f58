import "../no-eval";
import { type Audio, Broadcast, Net, Signals, type Video } from "@moq/publish";
import { element } from "../dom";
import { relayUrl } from "../relay-url";
import type { Words } from "../words";
import { type Answer, Capture, type Given, type Picture, type Sound, ask, release } from "./capture";
import { figures } from "./figures";
import { type State, type Wish, publisherState } from "./state";
import { Uplink } from "./uplink";
import * as words from "./words";

const form = element("form", HTMLFormElement);
const nameField = element("name", HTMLInputElement);
const picture = element("picture", HTMLSelectElement);
const sound = element("sound", HTMLSelectElement);
const toggle = element("toggle", HTMLButtonElement);
const preview = element("preview", HTMLVideoElement);

const missing = lacks();
element("relay-host", HTMLElement).textContent = relayUrl.host;
nameField.value = new URLSearchParams(location.search).get("broadcast") ?? "browser.hang";

if (missing) {
	document.body.dataset.lacks = "";
	document.body.dataset.relay = "unknown";
	render({ phase: "problem", label: "Cannot publish", message: missing });
} else {
	start();
}

function lacks(): Words | undefined {
	if (!isSecureContext) return words.insecure;
	if (!("WebTransport" in globalThis)) return words.noWebTransport;
	if (!("VideoEncoder" in globalThis && "AudioEncoder" in globalThis)) return words.noWebCodecs;
	return undefined;
}

function start(): void {
	const scope = new Signals.Effect();
	const wish = new Signals.Signal<Wish>("nothing");
	const refusal = new Signals.Signal<Words | undefined>(undefined);
	const name = new Signals.Signal("");
	const capture = new Capture();
	const chosen: { picture: Picture; sound: Sound } = { picture: "none", sound: "none" };
	const uplink = new Uplink(scope, name);
	const broadcast = new Broadcast({ connection: uplink.connection.established });
	// The browser answers when the person does, in any order: only the answer to what was asked last counts.
	const turns = { start: 0, picture: 0, sound: 0 };

	form.addEventListener("submit", (event) => {
		event.preventDefault();
		if (wish.peek() === "nothing") void begin();
		else end();
	});
	picture.addEventListener("change", () => {
		const choice = picture.value as Picture;
		void change("picture", () => ask(choice, "none"), (given) => {
			chosen.picture = choice;
			capture.usePicture(given.picture);
		});
	});
	sound.addEventListener("change", () => {
		const choice = sound.value as Sound;
		void change("sound", () => ask("none", choice), (given) => {
			chosen.sound = choice;
			capture.useSound(given.sound);
		});
	});
	window.addEventListener("pagehide", end);

	scope.run((effect) => {
		const started = effect.get(wish) === "started";
		const [image, voice] = [effect.get(capture.picture), effect.get(capture.sound)];
		broadcast.video.source.set(image as Video.Source | undefined);
		broadcast.video.hd.enabled.set(started);
		broadcast.audio.source.set(voice && { track: voice as Audio.StreamTrack, kind: "auto" });
		broadcast.audio.enabled.set(started);
		broadcast.name.set(Net.Path.from(effect.get(name)));
		broadcast.enabled.set(started);
		preview.srcObject = image ? new MediaStream([image]) : null;
	});
	scope.run((effect) => {
		if (effect.get(capture.ended)) showChosen();
	});
	scope.run((effect) => uplink.want(effect.get(wish) === "started"));
	scope.run((effect) => {
		const now = effect.get(wish);
		toggle.textContent = now === "nothing" ? "Start" : "Stop";
		toggle.classList.toggle("stop", now !== "nothing");
		nameField.disabled = now !== "nothing";
		const shown = now === "started" ? effect.get(name) : "";
		element("shown-name", HTMLElement).textContent = shown;
		document.title = shown ? `${shown} – publishing` : "Publish from this browser";
		const watch = element("watch", HTMLAnchorElement);
		watch.hidden = !(shown && effect.get(uplink.listed)) || effect.get(uplink.problem) !== undefined;
		watch.href = `./#${encodeURIComponent(shown).replaceAll("%2F", "/")}`;
	});
	scope.run((effect) => {
		const wanted = effect.get(wish) === "started";
		const connected = effect.get(uplink.connection.established) !== undefined;
		const relay = effect.get(uplink.problem) ? "down" : connected ? "up" : "connecting";
		document.body.dataset.relay = wanted ? relay : "unknown";
	});
	scope.run((effect) => render(publisherState(effect, { wish, refusal, capture, uplink, name })));
	figures(scope, broadcast, uplink);

	async function begin(): Promise<void> {
		if (picture.value === "none" && sound.value === "none") {
			refusal.set(words.nothingChosen);
			return;
		}
		nameField.value = broadcastName(nameField.value);
		name.set(nameField.value);
		refusal.set(undefined);
		wish.set("asked");
		const turn = ++turns.start;
		const answer = await ask(picture.value as Picture, sound.value as Sound);
		if (turn !== turns.start) return release(answer);
		if ("problem" in answer) {
			refusal.set(answer.problem);
			wish.set("nothing");
			return;
		}
		Object.assign(chosen, { picture: picture.value, sound: sound.value });
		capture.usePicture(answer.given.picture);
		capture.useSound(answer.given.sound);
		wish.set("started");
	}

	/**
	 * A choice that was made while publishing; what was there goes on until the browser gives the other.
	 *
	 * `@moq/publish` ends a track when its source changes and uses its name again, but in MoQ the end of a track is final. So the
	 * session goes first, as it does in an outage, and players take up the broadcast of the next one.
	 */
	async function change(kind: "picture" | "sound", asked: () => Promise<Answer>, use: (given: Given) => void): Promise<void> {
		refusal.set(undefined);
		if (wish.peek() !== "started") return;
		const turn = ++turns[kind];
		const answer = await asked();
		if (turn !== turns[kind]) return release(answer);
		if ("problem" in answer) {
			refusal.set(answer.problem);
			showChosen();
			return;
		}
		await uplink.leave();
		if (turn === turns[kind]) use(answer.given);
		else release(answer);
		uplink.want(wish.peek() === "started");
	}

	/** What is not there can be chosen again. */
	function showChosen(): void {
		if (!capture.picture.peek()) chosen.picture = "none";
		if (!capture.sound.peek()) chosen.sound = "none";
		picture.value = chosen.picture;
		sound.value = chosen.sound;
	}

	function end(): void {
		turns.start++;
		turns.picture++;
		turns.sound++;
		wish.set("nothing");
		refusal.set(undefined);
		capture.stop();
	}
}

/** Players find the catalog by the ending of the name. */
function broadcastName(given: string): string {
	const name = given.split("/").filter(Boolean).join("/").trim();
	return /\.hang$/.test(name) ? name : `${name}.hang`;
}

function render({ phase, label, message, note }: State): void {
	document.body.dataset.phase = phase;
	element("state", HTMLElement).textContent = label;
	element("message", HTMLElement).hidden = !message;
	element("spinner", HTMLElement).hidden = !message?.busy;
	setText("message-title", message?.title ?? "");
	setText("message-text", message?.text ?? "");
	element("note", HTMLElement).hidden = !note;
	setText("note", note ?? "");
}

/** Leaves equal text alone: a live region is read out when it changes. */
function setText(id: string, text: string): void {
	const target = element(id, HTMLElement);
	if (target.textContent !== text) target.textContent = text;
}
