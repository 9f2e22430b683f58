/** Camera, screen and microphone: what is captured, and why not. */
import { Signals } from "@moq/publish";
import type { Words } from "../words";
import * as words from "./words";

export type Picture = "camera" | "screen" | "none";
export type Sound = "microphone" | "none";

export interface Given {
	picture?: MediaStreamTrack;
	sound?: MediaStreamTrack;
}

export type Answer = { given: Given } | { problem: Words };

const CAMERA: MediaTrackConstraints = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

/** Asks for all of it, for camera and microphone at once; nothing is held when one is refused. */
export async function ask(picture: Picture, sound: Sound): Promise<Answer> {
	const given: Given = {};
	let what: string = picture;
	try {
		if (picture === "screen") {
			const stream = await navigator.mediaDevices.getDisplayMedia({ video: true });
			given.picture = stream.getVideoTracks()[0];
		}
		const video = picture === "camera" && CAMERA;
		const audio = sound === "microphone";
		if (video || audio) {
			what = [video && "camera", audio && "microphone"].filter(Boolean).join(" and ");
			const stream = await navigator.mediaDevices.getUserMedia({ video, audio });
			given.picture ??= stream.getVideoTracks()[0];
			given.sound = stream.getAudioTracks()[0];
		}
		return { given };
	} catch (error) {
		given.picture?.stop();
		return { problem: words.refused(what, error) };
	}
}

/** Switches off what nobody wants any more. */
export function release(answer: Answer): void {
	if ("problem" in answer) return;
	answer.given.picture?.stop();
	answer.given.sound?.stop();
}

/** One picture and one sound at most. */
export class Capture {
	readonly picture = new Signals.Signal<MediaStreamTrack | undefined>(undefined);
	readonly sound = new Signals.Signal<MediaStreamTrack | undefined>(undefined);
	/** Something that was given has ended by itself. */
	readonly ended = new Signals.Signal<string | undefined>(undefined);

	usePicture(track: MediaStreamTrack | undefined): void {
		this.#use(this.picture, track, words.pictureEnded);
	}

	useSound(track: MediaStreamTrack | undefined): void {
		this.#use(this.sound, track, words.soundEnded);
	}

	stop(): void {
		this.usePicture(undefined);
		this.useSound(undefined);
	}

	#use(place: Signals.Signal<MediaStreamTrack | undefined>, track: MediaStreamTrack | undefined, end: string): void {
		place.peek()?.stop();
		place.set(track);
		this.ended.set(undefined);
		// Not told of tracks that were stopped here.
		track?.addEventListener("ended", () => {
			if (place.peek() !== track) return;
			place.set(undefined);
			this.ended.set(end);
		});
	}
}
