// What runs inside the pages: the driver sends each function's text there, so each one
// must stand alone. A page keeps its call in `window.call` between them.

// Makes the page's end of a call, gathers every candidate, and returns the description.
// Without `offer` it is the caller, which also makes the data channel.
export async function openCall({ servers, nMessages, offer, policy = "relay" }) {
  const pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: policy });
  const call = (window.call = { pc, received: 0, inOrder: true });

  // The callee answers the caller's first message: Chromium may open a channel that it was offered
  // before it tells of it, without a word, and lose what is sent in that moment.
  const onChannel = (channel) => {
    const sendAll = () => {
      for (let i = 0; i < nMessages; i++) channel.send(`${i} ${"z".repeat(i % 211)}`);
    };
    channel.onmessage = ({ data }) => {
      call.inOrder &&= data === `${call.received} ${"z".repeat(call.received % 211)}`;
      call.received += 1;
      if (offer && call.received === 1) sendAll();
    };
    if (!offer) channel.onopen = sendAll;
  };
  if (offer) pc.ondatachannel = ({ channel }) => onChannel(channel);
  else onChannel(pc.createDataChannel("numbers"));

  const camera = await navigator.mediaDevices.getUserMedia({
    video: { width: 320, height: 240, frameRate: 20 },
    audio: true,
  });
  camera.getTracks().forEach((track) => pc.addTrack(track, camera));
  pc.ontrack = ({ streams }) => {
    const video = document.createElement("video");
    video.autoplay = video.muted = true;
    video.srcObject = streams[0];
    document.body.append(video);
  };

  if (offer) await pc.setRemoteDescription(offer);
  await pc.setLocalDescription(offer ? await pc.createAnswer() : await pc.createOffer());
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("gathering takes more than 20 s")), 20000);
    const look = () => {
      if (pc.iceGatheringState !== "complete") return;
      clearTimeout(late);
      resolve();
    };
    pc.onicegatheringstatechange = look;
    look();
  });
  return pc.localDescription.toJSON();
}

// Waits until the call has shown what it should (or is in one of the states of `until`), or the
// time is up, and returns what it saw.
export async function finishCall({ answer, minFrames, nMessages, until, timeoutMs }) {
  const { call } = window;
  if (answer) await call.pc.setRemoteDescription(answer);
  const seen = async () => {
    const stats = [...(await call.pc.getStats()).values()];
    const byId = new Map(stats.map((entry) => [entry.id, entry]));
    const video = stats.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
    const transport = stats.find((entry) => entry.type === "transport");
    // Firefox marks the pair itself.
    const pair = byId.get(transport?.selectedCandidatePairId) ??
      stats.find((entry) => entry.type === "candidate-pair" && entry.selected);
    const local = byId.get(pair?.localCandidateId);
    const remote = byId.get(pair?.remoteCandidateId);
    return {
      state: call.pc.connectionState,
      framesDecoded: video?.framesDecoded ?? 0,
      received: call.received,
      inOrder: call.inOrder,
      localType: local?.candidateType,
      remoteType: remote?.candidateType,
      relayProtocol: local?.relayProtocol,
      remoteAddress: remote?.address,
      remotePort: remote?.port,
      remoteAddresses: stats.filter((entry) => entry.type === "remote-candidate")
        .map((entry) => entry.address),
    };
  };
  const end = performance.now() + timeoutMs;
  for (;;) {
    const result = await seen();
    const done = until ? until.includes(result.state)
      : result.framesDecoded > minFrames && result.received >= nMessages;
    if (done || performance.now() > end) {
      // The other page may need this end a little longer: contexts close when both are done.
      return result;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// Gathers with the servers given; returns the candidates and the error codes reported.
export async function gatherOnly({ servers, policy, timeoutMs }) {
  const pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: policy });
  const candidates = [];
  const errors = [];
  pc.onicecandidateerror = ({ errorCode }) => errors.push(errorCode);
  const complete = new Promise((resolve) => {
    pc.onicecandidate = ({ candidate }) => {
      if (candidate === null) resolve();
      else if (candidate.candidate !== "") candidates.push(candidate.candidate);
    };
  });
  pc.createDataChannel("none");
  await pc.setLocalDescription(await pc.createOffer());
  await Promise.race([complete, new Promise((resolve) => setTimeout(resolve, timeoutMs))]);
  pc.close();
  return { candidates, errors };
}
