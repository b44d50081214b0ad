// Prints the pose of every frame of a running stream, in the lines of `spark3r echo`, from docs/wire.md alone; and where
// the camera is in the map, once it was told where the frame's submap lies.
//
//   pose_client tcp://127.0.0.1:5555
//   pose_client tcp://robot.local:5555 KEYS_FOLDER SERVER_KEY_FILE     (docs/security.md)
//
// Exit code 0 when the stream says that it is over, 1 when nothing came for five seconds or the peer is not understood.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <zmq.hpp>
#include <zmq_addon.hpp>

#include "wire.pb.h"

namespace {

constexpr std::uint32_t kSchemaMajor = 2;
constexpr std::int64_t kMaxMessageBytes = 65 * 1024 * 1024;
constexpr std::size_t kMaxSmallBytes = 256 * 1024;  // the largest limit of the topics read here
constexpr int kSilenceMs = 5000;  // a status comes every second

std::string read_key(const std::string& path) {
  std::ifstream file(path);
  std::string key;
  if (!(file >> key) || key.size() != 40) throw std::runtime_error("no key in " + path);
  return key;
}

void use_keys(zmq::socket_t& socket, const std::string& folder, const std::string& server_key_file) {
  socket.set(zmq::sockopt::curve_serverkey, read_key(server_key_file));
  socket.set(zmq::sockopt::curve_publickey, read_key(folder + "/public.key"));
  socket.set(zmq::sockopt::curve_secretkey, read_key(folder + "/secret.key"));
}

const char* state_name(spark3r::v1::TrackingState state) {
  switch (state) {
    case spark3r::v1::TRACKING_STATE_TRACKING: return "TRACKING";
    case spark3r::v1::TRACKING_STATE_LOST: return "LOST";
    default: return "LOW_CONFIDENCE";  // also for states of a later minor version
  }
}

// Where submaps lie in the map: of each the newest revision, from the lists on /map_correction/.
class Places {
 public:
  void forget() { newest_.clear(); }

  void take(const spark3r::v1::MapCorrections& list) {
    for (const auto& correction : list.corrections()) {
      const auto known = newest_.find(correction.submap());
      if (known == newest_.end() || known->second.revision() <= correction.revision())
        newest_[correction.submap()] = correction;
    }
    while (newest_.size() > kMaxSubmaps) newest_.erase(newest_.begin());  // the oldest; frames no longer come in it
  }

  // p_map = scale R(rotation) p_submap + translation; nullptr where nothing was said of the submap (a late joiner).
  const spark3r::v1::Similarity* of(std::uint32_t submap) const {
    const auto known = newest_.find(submap);
    return known == newest_.end() ? nullptr : &known->second.map_from_submap();
  }

 private:
  static constexpr std::size_t kMaxSubmaps = 4096;
  std::map<std::uint32_t, spark3r::v1::MapCorrection> newest_;
};

struct Point {
  double x, y, z;
};

Point cross(const Point& a, const Point& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

Point transformed(const spark3r::v1::Similarity& map_from_submap, const spark3r::v1::Vector3& p) {
  const auto& q = map_from_submap.rotation();
  const auto& t = map_from_submap.translation();
  const double s = map_from_submap.scale();
  const Point axis{q.x(), q.y(), q.z()}, point{p.x(), p.y(), p.z()};
  const Point once = cross(axis, point), twice = cross(axis, once);  // R p = p + 2 w (q x p) + 2 q x (q x p)
  return {s * (point.x + 2 * (q.w() * once.x + twice.x)) + t.x(), s * (point.y + 2 * (q.w() * once.y + twice.y)) + t.y(),
          s * (point.z + 2 * (q.w() * once.z + twice.z)) + t.z()};
}

void print_frame(const spark3r::v1::FrameResult& frame, const Places& places) {
  const auto id = static_cast<std::int64_t>(frame.frame_id());
  if (!frame.valid()) {
    std::printf("frame %" PRId64 "  %s  FAILED: %s\n", id, state_name(frame.state()), frame.failure_reason().c_str());
    return;
  }
  std::uint64_t lost = 0;
  for (const auto& drop : frame.drops_since_last()) lost += drop.count();
  const auto& t = frame.world_from_camera().translation();
  const auto& q = frame.world_from_camera().rotation();
  std::printf(
      "frame %" PRId64 "  %s  t [%+.4f %+.4f %+.4f]  q [%+.4f %+.4f %+.4f %+.4f]  %s  confidence %.2f  latency %.0f ms  "
      "memory %.1f MiB  lost %" PRIu64,
      id, frame.frame_name().c_str(), t.x(), t.y(), t.z(), q.x(), q.y(), q.z(), q.w(), state_name(frame.state()), frame.confidence(),
      frame.latency_ms(), static_cast<double>(frame.memory_bytes()) / (1 << 20), lost);
  if (const auto* place = places.of(frame.submap())) {
    const Point p = transformed(*place, t);
    std::printf("  map [%+.4f %+.4f %+.4f]", p.x, p.y, p.z);
  }
  std::printf("\n");
}

// Counts what was lost between the messages of each topic; a new session begins at zero.
class Gaps {
 public:
  // Whether a new session began.
  bool count(const std::string& topic, const spark3r::v1::Envelope& envelope) {
    const bool is_new = envelope.session_id() != session_;
    if (is_new) {
      session_ = envelope.session_id();
      next_.clear();
    }
    const auto known = next_.find(topic);
    if (known != next_.end() && envelope.sequence() > known->second) missed_ += envelope.sequence() - known->second;
    next_[topic] = envelope.sequence() + 1;
    return is_new;
  }
  std::uint64_t missed() const { return missed_; }

 private:
  std::string session_;
  std::map<std::string, std::uint64_t> next_;
  std::uint64_t missed_ = 0;
};

int follow(zmq::socket_t& socket) {
  Gaps gaps;
  Places places;
  std::vector<zmq::message_t> parts;
  while (true) {
    parts.clear();
    if (!zmq::recv_multipart(socket, std::back_inserter(parts))) {
      std::cerr << "nothing came for " << kSilenceMs / 1000 << " s\n";
      return 1;
    }
    if (parts.size() != 3) continue;
    const std::string topic = parts[0].to_string();
    spark3r::v1::Envelope envelope;
    if (!envelope.ParseFromArray(parts[1].data(), static_cast<int>(parts[1].size()))) continue;
    if (envelope.schema_major() != kSchemaMajor) {
      std::cerr << "the publisher speaks schema version " << envelope.schema_major() << "." << envelope.schema_minor()
                << ", this program " << kSchemaMajor << ".x\n";
      return 1;
    }
    if (gaps.count(topic, envelope)) places.forget();
    if (parts[2].size() > kMaxSmallBytes) continue;
    const auto size = static_cast<int>(parts[2].size());
    if (topic == "/frame/") {
      spark3r::v1::FrameResult frame;
      if (frame.ParseFromArray(parts[2].data(), size)) print_frame(frame, places);
      std::fflush(stdout);
    } else if (topic == "/map_correction/") {
      spark3r::v1::MapCorrections list;
      if (list.ParseFromArray(parts[2].data(), size)) places.take(list);
    } else if (topic == "/status/") {
      spark3r::v1::Status status;
      if (!status.ParseFromArray(parts[2].data(), size)) continue;
      if (status.state() == spark3r::v1::SESSION_STATE_ENDED || status.state() == spark3r::v1::SESSION_STATE_FAILED) {
        if (gaps.missed() > 0) std::cerr << "missed " << gaps.missed() << " messages\n";
        return 0;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::cerr << "usage: " << argv[0] << " ENDPOINT [KEYS_FOLDER SERVER_KEY_FILE]\n";
    return 2;
  }
  try {
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::sub);
    socket.set(zmq::sockopt::maxmsgsize, kMaxMessageBytes);
    socket.set(zmq::sockopt::rcvtimeo, kSilenceMs);
    socket.set(zmq::sockopt::linger, 0);
    if (argc == 4) use_keys(socket, argv[2], argv[3]);
    socket.set(zmq::sockopt::subscribe, "/frame/");
    socket.set(zmq::sockopt::subscribe, "/map_correction/");
    socket.set(zmq::sockopt::subscribe, "/status/");
    socket.connect(argv[1]);
    return follow(socket);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
