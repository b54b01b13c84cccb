"""A private AI lab on a rented GPU server: the whole of it, in the order it is built."""

from pathlib import Path

from provisioning.editions import EDITIONS
from provisioning.plan import plan
from stack.gateway import seed_gateway
from stack.host import prepare_host
from stack.knowledge import seed_knowledge
from stack.models import start_models
from stack.outputs import export_outputs
from stack.part import OnServer
from stack.passwords import make_passwords
from stack.server import rent_server
from stack.services import run_services
from stack.settings import load_settings
from stack.told import end_quietly, explain_failures

end_quietly()
explain_failures()
project = Path(__file__).parent
planned = plan(load_settings(project))

passwords = make_passwords(planned.settings.password_rotation, EDITIONS[planned.edition])
server = rent_server(planned)
lab = OnServer("lab", server.life, server.ready)

host = prepare_host(planned, server, passwords, lab)
services = run_services(planned, server, host, passwords, lab)
models = start_models(planned, server, services, lab)
gateway = seed_gateway(planned, server, services, models, lab)
knowledge = seed_knowledge(planned, server, services, models, gateway, lab, project)

export_outputs(planned, server, services, gateway, knowledge)
